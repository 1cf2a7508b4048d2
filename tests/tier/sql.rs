//! SQL over both tiers: the same answers from the log, from both, and from the tier.

use anyhow::{Context, Result, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_tests::setting;
use strata_tests::site::{self, Setup};
use strata_tests::talk::Talk;

use crate::traffic::{MESSAGES_OF_SEGMENT, Truth};
use crate::{Ground, roll_and_trim, s3, start};

/// Statements whose answers do not depend on where messages are.
const STATEMENTS: [&str; 12] = [
    "SELECT count(*) AS n FROM messages WHERE topic IN ('Orders', 'Audit', 'Quiet')",
    "SELECT topic, queue_id, count(*) AS n, min(queue_offset) AS first, max(queue_offset) AS last FROM messages \
     WHERE topic <> 'SELF_TEST_TOPIC' GROUP BY topic, queue_id ORDER BY topic, queue_id",
    "SELECT tags, count(*) AS n, count(DISTINCT msg_id) AS ids FROM messages WHERE topic = 'Orders' GROUP BY tags ORDER BY 1",
    "SELECT queue_id, queue_offset, log_offset, msg_id, keys, tags, flag, sys_flag, reconsume_times, born_host, \
     properties, body_text FROM messages WHERE msg_id = '000000000000000000000000000004D2'",
    "SELECT queue_id, queue_offset FROM messages WHERE array_has(keys, 'order-777')",
    "SELECT properties['color'] AS color, count(*) AS n FROM messages WHERE topic = 'Audit' GROUP BY 1 ORDER BY 1",
    "SELECT queue_offset, octet_length(body_text) AS bytes, encode(body, 'hex') AS body FROM messages WHERE topic = 'Orders' AND queue_id = 1 AND \
     queue_offset BETWEEN 100 AND 110 ORDER BY queue_offset",
    "SELECT count(*) AS n FROM messages a JOIN messages b ON a.log_offset = b.log_offset WHERE a.topic = 'Quiet'",
    "SELECT count(*) AS n FROM messages WHERE topic = 'nothing'",
    "SELECT max(store_time) - min(store_time) AS took FROM messages WHERE topic = 'Orders'",
    "SELECT sum(queue_offset * 31 + log_offset % 7) AS sum FROM messages WHERE topic = \
     'Orders' AND queue_id = 0",
    "SELECT count(*) AS n FROM messages WHERE topic = 'Orders' AND body_text LIKE 'message 1%'",
];

/// The page whose statements are run, too.
const PAGE: &str = "docs/sql.md";
const PAGE_STATEMENTS: usize = 21;

/// Statements that are refused, and what they are told.
const REFUSED: [(&str, &str); 9] = [
    ("CREATE TABLE x AS SELECT 1", "read only"),
    ("COPY (SELECT 1) TO '/tmp/strata-copied.csv'", "read only"),
    ("SET datafusion.execution.batch_size = 1", "read only"),
    ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "read only"),
    ("SELECT topc FROM messages", "topic"),
    ("SELECT * FROM mesages", "did you mean messages?"),
    ("COPY messages TO '/tmp/strata-copied'", "read only"),
    ("SELEC 1", "SELEC"),
    ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
];

pub(crate) async fn both_tiers(ground: &mut Ground) -> Result<String> {
    let url = format!("file://{}", ground.folder.join("sql-cold").display());
    let mut setup = ground.setup("sql", &url)?;
    // Its own records would be messages that nobody sent here.
    setup.settings.push(String::from("traceRecords=off"));
    let site = start(&setup, None).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let mut truth = Truth::default();
    truth.send(&talk, 6 * MESSAGES_OF_SEGMENT).await?;
    let hot = answers(&setup)?;
    let sent: usize = truth.queues.values().map(Vec::len).sum();
    ensure!(hot.first().is_some_and(|answer| *answer == format!("{{\"n\":{sent}}}\n")), "{sent} were sent: {hot:?}");
    ensure!(hot.iter().all(|answer| !answer.is_empty()), "a statement gave nothing: {hot:?}");
    let page = page()?;
    for statement in &page {
        sql(&setup, statement)?;
    }
    let fronts = fronts(&setup)?;
    roll_and_trim(&setup, None).await?;
    for statement in &page {
        sql(&setup, statement)?;
    }
    ensure!(self::fronts(&setup)? == fronts, "a front answers otherwise after rolling");
    let client = psycopg(&setup)?;
    let both = answers(&setup)?;
    for (statement, (before, after)) in STATEMENTS.iter().zip(hot.iter().zip(&both)) {
        ensure!(before == after, "{statement}\ngave {before} before it was rolled, and {after} after");
    }
    let tiers = sql(&setup, "SELECT tier, count(*) AS n FROM messages GROUP BY tier ORDER BY tier")?;
    ensure!(tiers.contains("\"cold\"") && tiers.contains("\"hot\""), "it is in {tiers}");
    for (statement, told) in REFUSED {
        let refused = sql(&setup, statement).err().with_context(|| format!("{statement} is answered"))?;
        ensure!(format!("{refused:#}").contains(told), "{statement} is told {refused:#}");
    }
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!(
        "{} statements, psycopg {}, {}",
        STATEMENTS.len() + PAGE_STATEMENTS,
        client.trim(),
        tiers.trim().replace('\n', " ")
    ))
}

/// The statements of the page.
fn page() -> Result<Vec<String>> {
    let path = setting::package().parent().context("the tests lie in a workspace")?.join(PAGE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let fenced = text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let statements: Vec<String> = fenced.map(|statement| statement.trim().to_owned()).collect();
    ensure!(statements.len() == PAGE_STATEMENTS, "{PAGE} has {} statements", statements.len());
    Ok(statements)
}

/// What each front says of the same rows.
fn fronts(setup: &Setup) -> Result<Vec<String>> {
    let statement =
        "SELECT queue_id, count(*) AS n FROM messages WHERE topic = 'Orders' GROUP BY queue_id ORDER BY queue_id";
    let mut out = vec![sql(setup, statement)?];
    let rows = out.first().map_or(0, |answer| answer.lines().count());
    // As psql's own commands ask, as a prepared statement with a parameter, and as a session that sets things.
    let tables = psql(setup, &["-c", "\\d"])?;
    for table in ["messages", "traces", "spans", "dlq", "topics", "queues", "groups", "lag", "clients", "segments"] {
        ensure!(tables.contains(table), "psql knows no table {table}: {tables}");
    }
    let columns = psql(setup, &["-c", "\\d messages"])?;
    ensure!(columns.contains("queue_offset") && columns.contains("properties"), "psql knows of messages: {columns}");
    let counted =
        psql(setup, &["-c", "BEGIN", "-c", "SET statement_timeout = 10000", "-c", statement, "-c", "COMMIT"])?;
    ensure!(counted.lines().filter(|line| line.contains('|')).count() == rows, "psql counts {counted}");
    let whole = psql(
        setup,
        &[
            "-c",
            "SELECT properties, body, keys, store_time FROM messages WHERE topic = 'Orders' ORDER BY log_offset LIMIT 3",
        ],
    )?;
    ensure!(whole.contains("{\"") && whole.lines().count() == 3, "psql shows {whole}");
    out.extend([counted, whole]);
    for (told, statement) in [
        ("25006", "CREATE TABLE x (a int)"),
        ("25006", "SET datafusion.runtime.temp_directory = '/tmp/strata-made'"),
        ("42601", "SELEC 1"),
        ("42000", "SELECT nothing"),
    ] {
        let refused = psql(setup, &["-v", "VERBOSITY=verbose", "-c", statement]).err();
        let refused = format!("{:#}", refused.with_context(|| format!("{statement} is answered"))?);
        ensure!(refused.contains(told), "{statement} is told {refused}");
    }
    Ok(out)
}

/// What a client of PostgreSQL in Python says that it saw.
fn psycopg(setup: &Setup) -> Result<String> {
    let script = setting::package().join("tier/postgres.py");
    let mut command = site::command(s3::python()?);
    let (port, metrics) = (setup.ports.postgres.to_string(), format!("127.0.0.1:{}", setup.ports.metrics));
    let output = command.arg(script).args([port, metrics]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psycopg: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What psql prints, rows as they are.
pub(crate) fn psql(setup: &Setup, arguments: &[&str]) -> Result<String> {
    let mut command = site::command("psql");
    command.args([
        "-X",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        "127.0.0.1",
        "-p",
        &setup.ports.postgres.to_string(),
    ]);
    let output =
        command.args(arguments).arg("strata").output().context("cannot run psql; tests/tier/install installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psql {}: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn answers(setup: &Setup) -> Result<Vec<String>> {
    STATEMENTS.iter().map(|statement| sql(setup, statement)).collect()
}

/// The rows of a statement, as lines of JSON.
pub(crate) fn sql(setup: &Setup, statement: &str) -> Result<String> {
    let mut command = site::command(&setup.binary);
    let address = format!("127.0.0.1:{}", setup.ports.sql);
    let output = command.args(["sql", "--sql", &address, "--output", "json", statement]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{statement}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
