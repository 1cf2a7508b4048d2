//! The grammar of the strict dialect. Precedence, from weak to strong: OR; AND; NOT; IS; comparisons, of which one
//! stands between two operands; literals, names and parentheses. What is open stands in a vector, not on the stack.

use super::super::refusal::{Cause, Refusal, quoted};
use super::super::tree::{Kind, Node, NodeId, Order, Tree};
use super::super::value::Truth;
use super::super::{Dialect, parser::Parsed};
use super::like::{BadPattern, Pattern, WILD_PIECE_MAX};
use super::number::Number;
use super::tokens::{Keyword, Lexeme, Token, tokens, unserved};
use super::{StrictKind, Test};
use crate::limits::{SQL_STRICT_ELEMENTS_MAX, SQL_STRICT_LEVELS_MAX, SQL_STRICT_NODES_MAX};

/// Something that waits for the operand on its right.
enum Open {
    Parenthesis { from: usize },
    Not { from: usize },
    Or { left: NodeId, at: usize },
    And { left: NodeId, at: usize },
    Compare { left: NodeId, at: usize, test: Test },
    BetweenLow { value: NodeId, at: usize, negated: bool },
    BetweenHigh { value: NodeId, low: NodeId, at: usize, negated: bool },
}

enum Next {
    Operand,
    Operator(NodeId),
    /// Behind a comparison, where no second one may follow.
    Behind(NodeId),
    End(NodeId),
}

struct Parser<'a> {
    text: &'a str,
    tokens: std::iter::Peekable<std::vec::IntoIter<Lexeme>>,
    ahead: Lexeme,
    tree: Tree,
    open: Vec<Open>,
    depth: usize,
    nodes: usize,
}

/// Parses `text` to its end.
pub(in crate::sql) fn parse(text: &str) -> Result<Parsed, Refusal> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let Some(ahead) = tokens.next().filter(|first| first.token != Token::End) else {
        return Err(Refusal::new(Dialect::Strict, text, text.len(), Cause::Empty));
    };
    let mut parser = Parser { text, tokens, ahead, tree: Tree::default(), open: Vec::new(), depth: 0, nodes: 0 };
    let mut next = Next::Operand;
    loop {
        next = match next {
            Next::Operand => parser.operand()?,
            Next::Operator(operand) => parser.operator(operand)?,
            Next::Behind(comparison) => parser.behind(comparison)?,
            Next::End(root) => {
                if parser.ahead.token != Token::End {
                    return Err(parser.unexpected("an operator or the end"));
                }
                let root = parser.condition(root)?;
                return Ok(Parsed { tree: parser.tree, root, ignored_from: text.len() });
            }
        };
    }
}

impl Parser<'_> {
    fn take(&mut self) -> Lexeme {
        let end = Lexeme { token: Token::End, from: self.text.len(), to: self.text.len() };
        std::mem::replace(&mut self.ahead, self.tokens.next().unwrap_or(end))
    }

    fn expect(&mut self, token: &Token, expected: &'static str) -> Result<Lexeme, Refusal> {
        if self.ahead.token == *token { Ok(self.take()) } else { Err(self.unexpected(expected)) }
    }

    /// Refuses the token ahead, by name if it is one of SQL.
    fn unexpected(&self, expected: &'static str) -> Refusal {
        let Lexeme { token, from, to } = &self.ahead;
        let shown = self.text.get(*from..*to).unwrap_or_default();
        let cause = match token {
            Token::Other => unserved(shown),
            Token::Word(Keyword::Unserved(what)) => Cause::NotServed { what: (*what).to_owned(), instead: None },
            Token::Plus | Token::Minus => Cause::NotServed {
                what: quoted(shown),
                instead: Some("there is no arithmetic; signs stand before numbers"),
            },
            Token::End => Cause::Expected { expected, found: "the end".to_owned() },
            _ => Cause::Expected { expected, found: quoted(shown) },
        };
        self.refuse(*from, cause)
    }

    fn refuse(&self, at: usize, cause: Cause) -> Refusal {
        Refusal::new(Dialect::Strict, self.text, at, cause)
    }

    fn add(&mut self, kind: Kind, from: usize, to: usize, at: usize) -> Result<NodeId, Refusal> {
        self.nodes += 1;
        if self.nodes > SQL_STRICT_NODES_MAX {
            return Err(self.refuse(at, Cause::StrictNodes));
        }
        let node = Node { kind, from: from as u32, to: to as u32, at: at as u32 };
        self.tree.add(node).map_err(|cause| self.refuse(at, cause))
    }

    fn add_behind(&mut self, kind: Kind, first: NodeId, to: usize, at: usize) -> Result<NodeId, Refusal> {
        let from = self.tree.node(first).from as usize;
        self.add(kind, from, to, at)
    }

    fn add_between(&mut self, kind: Kind, first: NodeId, last: NodeId, at: usize) -> Result<NodeId, Refusal> {
        let to = self.tree.node(last).to as usize;
        self.add_behind(kind, first, to, at)
    }

    fn push(&mut self, open: Open) -> Result<Next, Refusal> {
        if matches!(open, Open::Parenthesis { .. } | Open::Not { .. }) {
            self.depth += 1;
            if self.depth > SQL_STRICT_LEVELS_MAX {
                return Err(self.refuse(self.ahead.from, Cause::StrictDepth));
            }
        }
        self.open.push(open);
        self.take();
        Ok(Next::Operand)
    }

    /// Whether the operand ahead is that of a comparison, before which no NOT can stand.
    fn within_comparison(&self) -> bool {
        matches!(self.open.last(), Some(Open::Compare { .. } | Open::BetweenLow { .. } | Open::BetweenHigh { .. }))
    }

    fn operand(&mut self) -> Result<Next, Refusal> {
        let expected = "a property, a literal or `(`";
        let from = self.ahead.from;
        let kind = match &self.ahead.token {
            Token::Open => return self.push(Open::Parenthesis { from }),
            Token::Word(Keyword::Not) if !self.within_comparison() => return self.push(Open::Not { from }),
            Token::Word(Keyword::Null) => {
                let instead = Some("write IS NULL or IS NOT NULL: nothing is equal to NULL");
                return Err(self.refuse(from, Cause::NotServed { what: "the literal NULL".to_owned(), instead }));
            }
            Token::Word(Keyword::True) => Kind::Bool(true),
            Token::Word(Keyword::False) => Kind::Bool(false),
            Token::Text(value) => Kind::Text(value.as_str().into()),
            Token::Name(name) => Kind::Property(self.tree.slot(name)),
            Token::Number(_) | Token::Plus | Token::Minus => {
                let (number, to) = self.number()?;
                let id = self.add(kind_of(number), from, to, from)?;
                return Ok(self.complete(id));
            }
            _ => return Err(self.unexpected(expected)),
        };
        if let Kind::Property(_) = kind
            && self.tokens.peek().is_some_and(|next| next.token == Token::Open)
        {
            let instead = Some("there are no functions");
            return Err(self.refuse(from, Cause::NotServed { what: "a function".to_owned(), instead }));
        }
        let to = self.take().to;
        let id = self.add(kind, from, to, from)?;
        Ok(self.complete(id))
    }

    /// Reads a number with its sign.
    fn number(&mut self) -> Result<(Number, usize), Refusal> {
        let negative = self.ahead.token == Token::Minus;
        if negative || self.ahead.token == Token::Plus {
            self.take();
        }
        let Token::Number(digits) = &self.ahead.token else {
            return Err(self.unexpected("a number behind its sign"));
        };
        match Number::parse(digits.as_bytes()) {
            Some(Number::Double(value)) if !value.is_finite() => {
                let literal = quoted(digits);
                Err(self.refuse(self.ahead.from, Cause::TooLargeNumber { literal }))
            }
            None => Err(self.unexpected("a decimal number")),
            Some(number) => {
                let to = self.take().to;
                Ok((if negative { number.negated() } else { number }, to))
            }
        }
    }

    /// What comes behind a complete operand.
    fn complete(&self, operand: NodeId) -> Next {
        if self.within_comparison() { Next::Behind(operand) } else { Next::Operator(operand) }
    }

    /// Closes a comparison, or passes on what is none.
    fn behind(&mut self, operand: NodeId) -> Result<Next, Refusal> {
        let id = match self.open.last() {
            Some(&Open::BetweenLow { value, at, negated }) => {
                if self.ahead.token != Token::Word(Keyword::And) {
                    return Err(self.unexpected("AND and the upper bound of BETWEEN"));
                }
                self.open.pop();
                return self.push(Open::BetweenHigh { value, low: operand, at, negated });
            }
            Some(&Open::BetweenHigh { value, low, at, negated }) => {
                self.check_pair(value, low, Test::Order(Order::LessEqual), at)?;
                self.check_pair(value, operand, Test::Order(Order::LessEqual), at)?;
                let kind = StrictKind::Between { value, low, high: operand, negated };
                self.add_between(Kind::Strict(kind), value, operand, at)?
            }
            Some(&Open::Compare { left, at, test }) => {
                self.check_pair(left, operand, test, at)?;
                let kind = self.comparison(left, operand, test)?;
                self.add_between(kind, left, operand, at)?
            }
            _ => return self.unary(operand),
        };
        self.open.pop();
        self.no_chain()?;
        self.unary(id)
    }

    /// Refuses a comparison of a comparison without parentheses.
    fn no_chain(&self) -> Result<(), Refusal> {
        let is_comparison = matches!(
            self.ahead.token,
            Token::Equal
                | Token::NotEqual
                | Token::Less
                | Token::LessEqual
                | Token::Greater
                | Token::GreaterEqual
                | Token::Word(Keyword::Like | Keyword::In | Keyword::Between | Keyword::Find(_) | Keyword::Not)
        );
        if !is_comparison {
            return Ok(());
        }
        let instead = Some("join comparisons by AND, or put one in parentheses");
        Err(self.refuse(self.ahead.from, Cause::NotServed { what: "a chain of comparisons".to_owned(), instead }))
    }

    fn operator(&mut self, left: NodeId) -> Result<Next, Refusal> {
        let at = self.ahead.from;
        let test = match self.ahead.token {
            Token::Equal => Test::Equal,
            Token::NotEqual => Test::NotEqual,
            Token::Less => Test::Order(Order::Less),
            Token::LessEqual => Test::Order(Order::LessEqual),
            Token::Greater => Test::Order(Order::Greater),
            Token::GreaterEqual => Test::Order(Order::GreaterEqual),
            Token::Word(Keyword::Not) => {
                self.take();
                return self.named_operator(left, at, true);
            }
            Token::Word(Keyword::Like | Keyword::In | Keyword::Between | Keyword::Find(_)) => {
                return self.named_operator(left, at, false);
            }
            _ => return self.unary(left),
        };
        self.push(Open::Compare { left, at, test })
    }

    fn named_operator(&mut self, left: NodeId, at: usize, negated: bool) -> Result<Next, Refusal> {
        let (kind, to) = match self.ahead.token {
            Token::Word(Keyword::Between) => return self.push(Open::BetweenLow { value: left, at, negated }),
            Token::Word(Keyword::In) => {
                self.take();
                self.in_list(left, at, negated)?
            }
            Token::Word(Keyword::Like) => {
                self.take();
                self.like(left, at, negated)?
            }
            Token::Word(Keyword::Find(find)) => {
                self.take();
                self.check_text(left, find.name(negated), at)?;
                let (text, to) = self.string("a string literal")?;
                (StrictKind::Find { find, operand: left, text: text.into(), negated }, to)
            }
            _ => return Err(self.unexpected("LIKE, IN, BETWEEN, CONTAINS, STARTSWITH or ENDSWITH behind NOT")),
        };
        let id = self.add_behind(Kind::Strict(kind), left, to, at)?;
        self.no_chain()?;
        self.unary(id)
    }

    fn string(&mut self, expected: &'static str) -> Result<(String, usize), Refusal> {
        if !matches!(self.ahead.token, Token::Text(_)) {
            return Err(self.unexpected(expected));
        }
        match self.take() {
            Lexeme { token: Token::Text(text), to, .. } => Ok((text, to)),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn like(&mut self, operand: NodeId, at: usize, negated: bool) -> Result<(StrictKind, usize), Refusal> {
        self.check_text(operand, if negated { "NOT LIKE" } else { "LIKE" }, at)?;
        let pattern_at = self.ahead.from;
        let (source, mut to) = self.string("a pattern in single quotes")?;
        let mut escape = None;
        if self.ahead.token == Token::Word(Keyword::Escape) {
            self.take();
            let escape_at = self.ahead.from;
            let (text, end) = self.string("the escape character in single quotes")?;
            let mut characters = text.chars();
            escape = characters.next().filter(|_| characters.next().is_none());
            if escape.is_none() {
                return Err(self.refuse(escape_at, Cause::BadPattern { reason: "ESCAPE takes one character" }));
            }
            to = end;
        }
        let pattern = Pattern::compile(&source, escape).map_err(|bad| {
            const _: () = assert!(WILD_PIECE_MAX == 64, "the words below name the bound");
            let reason = match bad {
                BadPattern::Escape => "the escape character stands before %, _ or itself",
                BadPattern::LongPiece => "between two % stand more than 64 characters with a _ among them",
            };
            self.refuse(pattern_at, Cause::BadPattern { reason })
        })?;
        Ok((StrictKind::Like { operand, pattern: Box::new(pattern), negated }, to))
    }

    fn in_list(&mut self, operand: NodeId, at: usize, negated: bool) -> Result<(StrictKind, usize), Refusal> {
        if !matches!(self.tree.kind(operand), Kind::Property(_)) {
            let operand = self.shown(operand);
            return Err(self.refuse(at, Cause::InWithoutProperty { operand }));
        }
        self.expect(&Token::Open, "`(` and a list of literals")?;
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        let close = loop {
            match &self.ahead.token {
                Token::Text(_) => texts.push(self.string("a literal")?.0.into_boxed_str()),
                Token::Number(_) | Token::Plus | Token::Minus => numbers.push(self.number()?.0),
                _ => return Err(self.unexpected("a number or a string literal")),
            }
            if numbers.len() + texts.len() > SQL_STRICT_ELEMENTS_MAX {
                return Err(self.refuse(self.ahead.from, Cause::StrictList));
            }
            if self.ahead.token != Token::Comma {
                break self.expect(&Token::Close, "`,` or `)`")?;
            }
            self.take();
        };
        numbers.sort_unstable();
        numbers.dedup();
        texts.sort_unstable();
        texts.dedup();
        let (numbers, texts) = (numbers.into(), texts.into());
        Ok((StrictKind::OneOf { operand, numbers, texts, negated }, close.to))
    }

    /// Reads IS, closes NOT, then AND, OR, parentheses or the whole.
    fn unary(&mut self, mut left: NodeId) -> Result<Next, Refusal> {
        while self.ahead.token == Token::Word(Keyword::Is) {
            let at = self.take().from;
            let negated = self.ahead.token == Token::Word(Keyword::Not);
            if negated {
                self.take();
            }
            let truth = match self.ahead.token {
                Token::Word(Keyword::Null) => None,
                Token::Word(Keyword::True) => Some(Truth::True),
                Token::Word(Keyword::False) => Some(Truth::False),
                Token::Word(Keyword::Unknown) => Some(Truth::Null),
                _ => return Err(self.unexpected("NULL, TRUE, FALSE or UNKNOWN, perhaps behind NOT")),
            };
            let to = self.take().to;
            let operand = if truth.is_some() { self.condition(left)? } else { left };
            let kind = truth.map_or(Kind::IsNull { operand, negated }, |truth| {
                Kind::Strict(StrictKind::Is { operand, truth, negated })
            });
            left = self.add_behind(kind, left, to, at)?;
        }
        while let Some(&Open::Not { from }) = self.open.last() {
            self.open.pop();
            self.depth -= 1;
            let operand = self.condition(left)?;
            let to = self.tree.node(operand).to as usize;
            left = self.add(Kind::Not(operand), from, to, from)?;
        }
        self.logic(left)
    }

    fn logic(&mut self, mut left: NodeId) -> Result<Next, Refusal> {
        if let Some(&Open::And { left: first, at }) = self.open.last() {
            self.open.pop();
            let (first, last) = (self.condition(first)?, self.condition(left)?);
            left = self.add_between(Kind::And(first, last), first, last, at)?;
        }
        let at = self.ahead.from;
        if self.ahead.token == Token::Word(Keyword::And) {
            return self.push(Open::And { left, at });
        }
        if let Some(&Open::Or { left: first, at }) = self.open.last() {
            self.open.pop();
            let (first, last) = (self.condition(first)?, self.condition(left)?);
            left = self.add_between(Kind::Or(first, last), first, last, at)?;
        }
        if self.ahead.token == Token::Word(Keyword::Or) {
            return self.push(Open::Or { left, at });
        }
        let Some(Open::Parenthesis { from }) = self.open.pop() else { return Ok(Next::End(left)) };
        self.depth -= 1;
        let close = self.expect(&Token::Close, "an operator or `)`")?;
        self.tree.widen(left, from, close.to);
        Ok(self.complete(left))
    }

    fn shown(&self, id: NodeId) -> String {
        let node = self.tree.node(id);
        quoted(&self.text[node.from as usize..node.to as usize])
    }

    /// Makes a condition out of an operand.
    fn condition(&mut self, operand: NodeId) -> Result<NodeId, Refusal> {
        let node = self.tree.node(operand);
        let (from, to) = (node.from as usize, node.to as usize);
        match node.kind {
            Kind::Property(_) => self.add(Kind::Strict(StrictKind::Truth(operand)), from, to, from),
            Kind::Long(_) | Kind::Double(_) | Kind::Text(_) => {
                let operand = self.shown(operand);
                Err(self.refuse(from, Cause::NotCondition { operand }))
            }
            _ => Ok(operand),
        }
    }
}

const fn kind_of(number: Number) -> Kind {
    match number {
        Number::Int(value) => Kind::Long(value),
        Number::Double(value) => Kind::Double(value),
    }
}

/// The type of an operand as far as the text tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Number,
    Text,
    Boolean,
    Property,
}

const fn type_of(kind: &Kind) -> Type {
    match kind {
        Kind::Long(_) | Kind::Double(_) => Type::Number,
        Kind::Text(_) => Type::Text,
        Kind::Property(_) => Type::Property,
        _ => Type::Boolean,
    }
}

impl Parser<'_> {
    /// Refuses the comparison of things that have no value in common.
    fn check_pair(&self, left: NodeId, right: NodeId, test: Test, at: usize) -> Result<(), Refusal> {
        let (first, second) = (type_of(self.tree.kind(left)), type_of(self.tree.kind(right)));
        let refuse = |operand: NodeId, reason| {
            let operand = self.shown(operand);
            Err(self.refuse(at, Cause::NotComparable { operand, operator: test.name(), reason }))
        };
        if matches!(test, Test::Order(_)) && (first == Type::Boolean || second == Type::Boolean) {
            let boolean = if first == Type::Boolean { left } else { right };
            return refuse(boolean, "truth values have no order");
        }
        if first != second && first != Type::Property && second != Type::Property {
            return refuse(right, "numbers, texts and truth values are compared with their own kind or a property");
        }
        Ok(())
    }

    fn check_text(&self, operand: NodeId, operator: &'static str, at: usize) -> Result<(), Refusal> {
        match self.tree.kind(operand) {
            Kind::Property(_) | Kind::Text(_) => Ok(()),
            _ => {
                let operand = self.shown(operand);
                Err(self
                    .refuse(at, Cause::NotComparable { operand, operator, reason: "it takes properties and texts" }))
            }
        }
    }

    /// The node of a comparison whose operands fit; truth values are compared as conditions.
    fn comparison(&mut self, left: NodeId, right: NodeId, test: Test) -> Result<Kind, Refusal> {
        let boolean = [left, right].iter().any(|id| type_of(self.tree.kind(*id)) == Type::Boolean);
        let kind = if boolean {
            let (left, right) = (self.condition(left)?, self.condition(right)?);
            StrictKind::Same { left, right, negated: test == Test::NotEqual }
        } else {
            StrictKind::Compare { test, left, right }
        };
        Ok(Kind::Strict(kind))
    }
}
