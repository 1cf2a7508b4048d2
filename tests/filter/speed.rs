//! What a verdict costs Apache RocketMQ's filter and Strata's, on the same messages in turns.
//!
//! Owns the messages and the expression. Each does what a broker does for a stored message: finds the properties in
//! their text, and evaluates. The time is that of the thread's CPU, in the fastest of all passes.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use strata_filter::sql::{Dialect, Expression, Outcome};
use strata_tests::draw::Draw;
use strata_tests::report::say;

use crate::oracle::Oracle;

const EXPRESSION: &str = "color='blue' AND price>900";
const MESSAGES: u64 = 4_096;
const ROUNDS: usize = 8;
/// In a round: a second or less for either.
const PASSES: u32 = 400;

/// Measures, and prints the figures.
pub(crate) fn measure(oracle: &mut Oracle, seed: u64) -> Result<()> {
    let messages = messages(&mut Draw::new(seed));
    let expression = Expression::compile(Dialect::Sql92, EXPRESSION)?;
    let (mut apache, mut strata) = (u64::MAX, u64::MAX);
    for _ in 0..ROUNDS {
        let (took, matches) = oracle.time(EXPRESSION, &messages, PASSES)?;
        apache = apache.min(took);
        let (took, own) = time(&expression, &messages)?;
        strata = strata.min(took);
        ensure!(own == matches, "{own} messages match, for Apache {matches}");
    }
    let bytes = messages.iter().map(String::len).sum::<usize>() / messages.len();
    say(&format!("{EXPRESSION} on {MESSAGES} messages with 11 properties in {bytes} bytes:"));
    for (name, took) in [("Apache RocketMQ", apache), ("Strata", strata)] {
        let nanoseconds = took as f64 / MESSAGES as f64;
        say(&format!("    {name:<16}{nanoseconds:>8.1} ns, {:>6.2} million/s", 1_000.0 / nanoseconds));
    }
    say(&format!("    Strata evaluates {:.1} times as many", apache as f64 / strata as f64));
    Ok(())
}

fn time(expression: &Expression, messages: &[String]) -> Result<(u64, u32)> {
    let (mut best, mut matches) = (u64::MAX, 0);
    for _ in 0..PASSES {
        let began = cpu()?;
        let is_match = |message: &&String| expression.evaluate(black_box(message.as_bytes())) == Outcome::True;
        matches = u32::try_from(messages.iter().filter(is_match).count())?;
        best = best.min(cpu()? - began);
    }
    Ok((best, matches))
}

/// Nanoseconds of CPU that this thread has taken.
fn cpu() -> Result<u64> {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).context("the thread's CPU time")
}

/// Messages of which every third is blue and every tenth costs more than 900.
fn messages(draw: &mut Draw) -> Vec<String> {
    let mut message = |number: u64| {
        let (tag, color) =
            (["A", "B", "C", "D"][number as usize % 4], ["red", "blue", "green"][draw.below(3) as usize]);
        let (price, unique, a) = (draw.below(1_000), number * 131_071, number % 10);
        format!(
            "KEYS\x01ORD{number}\x02UNIQ_KEY\x017F0000010B4A18B4AAC2{unique:012X}\x02CLUSTER\x01DefaultCluster\x02\
             TAGS\x01Tag{tag}\x02color\x01{color}\x02price\x01{price}\x02region\x01hz\x02a\x01{a}\x02WAIT\x01true\x02\
             TRACE_ON\x01true\x02MSG_REGION\x01DefaultRegion\x02"
        )
    };
    (0..MESSAGES).map(&mut message).collect()
}
