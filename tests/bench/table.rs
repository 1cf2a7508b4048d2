//! The table: figures of both brokers, their ratio, the machine's limit, and the goal.
//!
//! Owns medians, ratios, what a goal means, and both forms of output.

use serde::Serialize;

/// What a figure is to reach. All that are set must hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Goal {
    /// Strata's figure over Apache's at most.
    pub ratio_max: Option<f64>,
    /// Strata's figure over Apache's at least.
    pub ratio_min: Option<f64>,
    /// Strata's figure over the machine's limit at most.
    pub limit_max: Option<f64>,
    /// Strata's figure over the machine's limit at least.
    pub limit_min: Option<f64>,
    /// Strata's figure at most.
    pub most: Option<f64>,
}

impl Goal {
    fn words(self) -> String {
        let fraction = |ratio: f64| if ratio < 1.0 { format!("1/{:.3}", 1.0 / ratio) } else { format!("{ratio:.3}") };
        let short = |ratio: f64| fraction(ratio).trim_end_matches('0').trim_end_matches('.').to_owned();
        let words = [
            self.ratio_max.map(|ratio| format!("at most {} of Apache's", short(ratio))),
            self.ratio_min.map(|ratio| format!("at least {} times Apache's", short(ratio))),
            self.limit_max.map(|ratio| format!("at most {ratio} times the limit")),
            self.limit_min.map(|ratio| format!("at least {ratio} of the limit")),
            self.most.map(|most| format!("at most {most}")),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether the figures reach it; `None` when one that it needs was not measured, or nothing is asked.
    fn is_met(self, strata: f64, ratio: Option<f64>, limit: Option<f64>) -> Option<bool> {
        let over = limit.map(|limit| strata / limit);
        let bounds = [
            self.ratio_max.map(|bound| ratio.map(|ratio| ratio <= bound)),
            self.ratio_min.map(|bound| ratio.map(|ratio| ratio >= bound)),
            self.limit_max.map(|bound| over.map(|over| over <= bound)),
            self.limit_min.map(|bound| over.map(|over| over >= bound)),
            self.most.map(|bound| Some(strata <= bound)),
        ];
        let mut asked = bounds.into_iter().flatten().peekable();
        asked.peek()?;
        let known: Vec<Option<bool>> = asked.collect();
        if known.contains(&Some(false)) {
            Some(false)
        } else {
            known.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub row: String,
    pub figure: String,
    /// In the order of the pairs; empty where it was not measured.
    pub apache: Vec<f64>,
    pub strata: Vec<f64>,
    pub ratio: Option<f64>,
    /// What the machine allows.
    pub limit: Option<f64>,
    pub goal: String,
    pub met: Option<bool>,
    /// What else ran, and what to know of the figures.
    pub notes: String,
}

impl Line {
    /// A line of figures that were measured in pairs.
    pub fn new(row: &str, figure: &str, (apache, strata): (Vec<f64>, Vec<f64>)) -> Self {
        let pairs = apache.iter().zip(&strata).filter(|(apache, _)| **apache > 0.0);
        let ratio = median(pairs.map(|(apache, strata)| strata / apache).collect());
        let (row, figure) = (row.to_owned(), figure.to_owned());
        Self { row, figure, apache, strata, ratio, limit: None, goal: String::new(), met: None, notes: String::new() }
    }

    /// Adds what the machine allows.
    pub fn limited(mut self, limit: Option<f64>) -> Self {
        self.limit = limit;
        self
    }

    /// Adds what is to be known.
    pub fn noted(mut self, notes: impl Into<String>) -> Self {
        self.notes = notes.into();
        self
    }

    /// Judges the figures.
    pub fn judged(mut self, goal: Goal) -> Self {
        self.goal = goal.words();
        self.met = median(self.strata.clone()).and_then(|strata| goal.is_met(strata, self.ratio, self.limit));
        self
    }

    fn markdown(&self) -> String {
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "-",
        };
        let ratio = self.ratio.map_or_else(|| String::from("-"), shown_ratio);
        let limit = self.limit.map_or_else(|| String::from("-"), shown);
        let cells = [&self.row, &self.figure, &spread(&self.apache), &spread(&self.strata), &ratio, &limit, &self.goal];
        let cells = cells.map(String::as_str);
        format!("| {} | {met} | {} |", cells.join(" | "), self.notes)
    }
}

/// The table for people.
pub fn markdown(lines: &[Line]) -> String {
    let head = "| row | figure | Apache RocketMQ 5.5.0 | Strata | ratio | limit | goal | | notes |\n|---|---|---|---|---|---|---|---|---|";
    let lines: Vec<String> = lines.iter().map(Line::markdown).collect();
    format!("{head}\n{}", lines.join("\n"))
}

/// The middle; `None` of nothing.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let high = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 { high } else { f64::midpoint(figures[middle - 1], high) })
}

fn shown(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.2}"),
        10.0..1_000.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

fn shown_ratio(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 1.0 { format!("1/{:.1}", 1.0 / ratio) } else { format!("{ratio:.2}") }
}

/// The middle, and the smallest and largest around it.
fn spread(figures: &[f64]) -> String {
    let Some(middle) = median(figures.to_vec()) else { return String::from("-") };
    let (low, high) =
        figures.iter().fold((f64::MAX, f64::MIN), |(low, high), figure| (low.min(*figure), high.max(*figure)));
    if figures.len() == 1 { shown(middle) } else { format!("{} ({} to {})", shown(middle), shown(low), shown(high)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_pairs_and_goals_are_judged() {
        let line = || Line::new("r", "f", (vec![10.0, 20.0, 40.0], vec![1.0, 4.0, 4.0])).limited(Some(2.0));
        assert_eq!(line().ratio, Some(0.1));
        let met = |goal| line().judged(goal).met;
        assert_eq!(met(Goal { ratio_max: Some(0.1), limit_max: Some(2.0), ..Goal::default() }), Some(true));
        assert_eq!(met(Goal { ratio_max: Some(0.1), limit_max: Some(1.9), ..Goal::default() }), Some(false));
        assert_eq!(met(Goal { ratio_min: Some(0.2), ..Goal::default() }), Some(false));
        assert_eq!(met(Goal { limit_min: Some(2.0), most: Some(4.0), ..Goal::default() }), Some(true));
        assert_eq!(met(Goal::default()), None);
        let alone = Line::new("r", "f", (vec![], vec![1.0]));
        assert_eq!(alone.judged(Goal { ratio_max: Some(0.1), ..Goal::default() }).met, None, "no ratio, no judgement");
    }

    #[test]
    fn a_line_shows_its_figures() {
        let goal = Goal { ratio_max: Some(1.0 / 12.0), limit_max: Some(2.5), ..Goal::default() };
        let line = Line::new("r", "f", (vec![20.0, 22.0], vec![1.5, 1.7])).limited(Some(1.0)).judged(goal).noted("n");
        assert_eq!(
            line.markdown(),
            "| r | f | 21.0 (20.0 to 22.0) | 1.60 (1.50 to 1.70) | 1/13.1 | 1.00 | at most 1/12 of Apache's, at most 2.5 \
             times the limit | met | n |"
        );
    }
}
