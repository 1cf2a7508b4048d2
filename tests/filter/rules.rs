//! What the generator must reach: rules of the grammar, shapes of tokens, kinds of damage, odd properties.
//!
//! Owns the list, and the table of how often each rule met each verdict of Apache's.

use std::fmt::Write as _;

use crate::question::Verdict;

/// Declares the rules with the names that the table shows.
macro_rules! rules {
    ($($rule:ident $name:literal,)*) => {
        /// A rule that questions use.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Rule { $($rule,)* }
        /// The rules' names, in their order.
        pub(crate) const NAMES: &[&str] = &[$($name,)*];
    };
}

rules! {
    // Productions, from the weakest binding to the strongest.
    Or "or", And "and", Equal "=", NotEqual "<>", IsNull "is null", IsNotNull "is not null",
    Greater ">", GreaterEqual ">=", Less "<", LessEqual "<=",
    Contains "contains", NotContains "not contains", StartsWith "startswith", NotStartsWith "not startswith",
    EndsWith "endswith", NotEndsWith "not endswith", Between "between", NotBetween "not between",
    In "in", NotIn "not in", ListOfOne "list of 1", ListOfFew "list of 2 to 4", ListOfMany "list of 5 and more",
    Plus "unary +", Minus "unary -", Not "unary not", Parentheses "parentheses", Property "property",
    StringLiteral "string", Integer "integer", Long "long", Float "float", True "true", False "false", Null "null",
    Chain "chained comparison",
    // Shapes of tokens, and what stands between them.
    QuoteInString "quote in string", EmptyString "empty string", NonAsciiString "non-ASCII string",
    LongSuffix "suffix l", FloatDotEnds "float 5.", FloatDotBegins "float .5", FloatExponent "exponent",
    FloatZeros "float 005.", KeywordCase "keyword case", LineComment "line comment", BlockComment "block comment",
    Tab "tab", LineFeed "line feed", CarriageReturn "carriage return", FormFeed "form feed", NoSpace "no space",
    // Damage to the text.
    Ignored "ignored text", Cut "cut text", Mutated "mutated text", Soup "token soup", Deep "deep nest", ManyNames "many names",
    LongToken "long token",
    // Properties.
    Missing "missing property", Empty "empty property", Doubled "doubled property", NonAscii "non-ASCII property",
    InvalidUtf8 "invalid UTF-8", SeparatorInValue "0x01 in value", Nameless "entry without name",
    Valueless "entry without 0x01", Unterminated "last 0x02 missing",
}

/// A set of rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RuleSet(u128);

const _: () = assert!(NAMES.len() <= 128, "a set holds 128 rules");

impl RuleSet {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u32;
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }
}

/// How often each rule met each verdict.
#[derive(Debug, Clone)]
pub(crate) struct Coverage {
    counts: Vec<[u64; Verdict::ALL.len()]>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { counts: vec![[0; Verdict::ALL.len()]; NAMES.len()] }
    }
}

impl Coverage {
    /// Counts a verdict of Apache's.
    pub(crate) fn count(&mut self, rules: RuleSet, verdict: Verdict) {
        for (at, row) in self.counts.iter_mut().enumerate() {
            if rules.has(at) {
                row[verdict.column()] += 1;
            }
        }
    }

    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (row, added) in self.counts.iter_mut().zip(&other.counts) {
            for (count, more) in row.iter_mut().zip(added) {
                *count += more;
            }
        }
    }

    /// Rules and verdicts that never met. Properties are looked at only when the expression compiles.
    pub(crate) fn holes(&self) -> Vec<String> {
        let mut holes = Vec::new();
        for ((rule, name), row) in NAMES.iter().enumerate().zip(&self.counts) {
            for (verdict, count) in Verdict::ALL.iter().zip(row) {
                if *count == 0 && !(rule >= Rule::Missing as usize && *verdict == Verdict::Refused) {
                    holes.push(format!("{name} with {verdict}"));
                }
            }
        }
        holes
    }

    /// The whole table, and one line with its figure.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("{:20}", "rule");
        for verdict in Verdict::ALL {
            // Writing to a String cannot fail.
            let _ = write!(out, "{verdict:>10}");
        }
        for (name, row) in NAMES.iter().zip(&self.counts) {
            let _ = write!(out, "\n{name:20}");
            for count in row {
                let _ = write!(out, "{count:>10}");
            }
        }
        let cells = NAMES.len() * Verdict::ALL.len() - (NAMES.len() - Rule::Missing as usize);
        let _ = write!(
            out,
            "\ncoverage: {} rules, {} of {cells} rules with verdicts",
            NAMES.len(),
            cells - self.holes().len()
        );
        out
    }
}
