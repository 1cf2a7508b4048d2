//! The grammar of the SQL92 dialect, as Apache RocketMQ's parser walks it.
//!
//! It stops behind the first complete expression and has then read one token more, which must be a token; nothing
//! behind that one is looked at. A token that can continue the expression commits to it. Precedence, from weak to
//! strong: OR; AND; `=`, `<>`, IS NULL; order, CONTAINS and its like, BETWEEN, IN; unary `+`, `-` and NOT.
//! What is open stands in a vector, not on the stack, so that no text can overflow it.

use super::Dialect;
use super::checks;
use super::lexer::{Lexeme, Lexer, Token};
use super::refusal::{Cause, Refusal, quoted};
use super::tree::{Find, Kind, Node, NodeId, Order, Tree};
use crate::limits::{SQL_ELEMENTS_MAX, SQL_LEVELS_MAX};

/// A tree and where the text that was not used begins.
pub(super) struct Parsed {
    pub tree: Tree,
    pub root: NodeId,
    pub ignored_from: usize,
}

/// Something that waits for the operand on its right.
enum Open {
    Parenthesis { from: usize },
    Plus,
    Minus { from: usize },
    Not { from: usize },
    Or { left: NodeId, at: usize },
    And { left: NodeId, at: usize },
    Equal { left: NodeId, at: usize, negated: bool },
    Order { left: NodeId, at: usize, order: Order },
    BetweenLow { value: NodeId, at: usize, negated: bool },
    BetweenHigh { value: NodeId, low: NodeId, at: usize, negated: bool },
}

/// What the parser looks for next.
enum Next {
    /// An operand.
    Operand,
    /// What may follow a complete operand with its unary operators.
    Operator(NodeId),
    /// Nothing.
    End(NodeId),
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The token that was read ahead.
    ahead: Lexeme,
    tree: Tree,
    open: Vec<Open>,
    depth: usize,
}

/// Parses `text`.
pub(super) fn parse(text: &str) -> Result<Parsed, Refusal> {
    let mut lexer = Lexer::new(text);
    let ahead = lexer.next()?;
    if ahead.token == Token::End {
        return Err(Refusal::new(Dialect::Sql92, text, ahead.from, Cause::Empty));
    }
    let mut parser = Parser { text, lexer, ahead, tree: Tree::default(), open: Vec::new(), depth: 0 };
    let mut next = Next::Operand;
    loop {
        next = match next {
            Next::Operand => parser.operand()?,
            Next::Operator(operand) => parser.operator(operand)?,
            Next::End(root) => {
                let root = parser.condition(root)?;
                return Ok(Parsed { tree: parser.tree, root, ignored_from: parser.ahead.from });
            }
        };
    }
}

impl Parser<'_> {
    /// Takes the token that was read ahead and reads the next one.
    fn take(&mut self) -> Result<Lexeme, Refusal> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.ahead, next))
    }

    /// Takes the token ahead, which must be `token`.
    fn expect(&mut self, token: Token, expected: &'static str) -> Result<Lexeme, Refusal> {
        if self.ahead.token == token { self.take() } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&self, expected: &'static str) -> Refusal {
        let Lexeme { token, from, to } = self.ahead;
        let found = if token == Token::End { "the end".to_owned() } else { quoted(&self.text[from..to]) };
        self.refuse(from, Cause::Expected { expected, found })
    }

    fn refuse(&self, at: usize, cause: Cause) -> Refusal {
        Refusal::new(Dialect::Sql92, self.text, at, cause)
    }

    fn add(&mut self, kind: Kind, from: usize, to: usize, at: usize) -> Result<NodeId, Refusal> {
        let node = Node { kind, from: from as u32, to: to as u32, at: at as u32 };
        self.tree.add(node).map_err(|cause| self.refuse(at, cause))
    }

    /// Adds an operator that stands at `at` and takes the text from its first operand to `to`.
    fn add_behind(&mut self, kind: Kind, first: NodeId, to: usize, at: usize) -> Result<NodeId, Refusal> {
        let from = self.tree.node(first).from as usize;
        self.add(kind, from, to, at)
    }

    /// Adds an operator between two operands.
    fn add_between(&mut self, kind: Kind, first: NodeId, last: NodeId, at: usize) -> Result<NodeId, Refusal> {
        let to = self.tree.node(last).to as usize;
        self.add_behind(kind, first, to, at)
    }

    fn push(&mut self, open: Open, nests: bool) -> Result<Next, Refusal> {
        if nests {
            self.depth += 1;
            if self.depth > SQL_LEVELS_MAX {
                return Err(self.refuse(self.ahead.from, Cause::TooDeep));
            }
        }
        self.open.push(open);
        self.take()?;
        Ok(Next::Operand)
    }

    /// Reads a literal, a name, or something that stands before an operand.
    fn operand(&mut self) -> Result<Next, Refusal> {
        let Lexeme { token, from, to } = self.ahead;
        let literal = match token {
            Token::Open => return self.push(Open::Parenthesis { from }, true),
            Token::Plus => return self.push(Open::Plus, true),
            Token::Minus => return self.push(Open::Minus { from }, true),
            Token::Not => return self.push(Open::Not { from }, true),
            Token::True => Ok(Kind::Bool(true)),
            Token::False => Ok(Kind::Bool(false)),
            Token::Null => Ok(Kind::Null),
            Token::Text => Ok(Kind::Text(unquote(&self.text[from..to]))),
            Token::Integer => checks::integer(&self.text[from..to]),
            Token::Float => checks::float(&self.text[from..to]),
            Token::Name => Ok(Kind::Property(self.tree.slot(&self.text[from..to]))),
            _ => return Err(self.unexpected("a property, a literal, `(`, NOT, `-` or `+`")),
        };
        let literal = literal.map_err(|cause| self.refuse(from, cause))?;
        let id = self.add(literal, from, to, from)?;
        self.take()?;
        self.prefixed(id)
    }

    /// Closes the unary operators before a complete operand, and the comparison that waited for it.
    fn prefixed(&mut self, mut operand: NodeId) -> Result<Next, Refusal> {
        loop {
            let to = self.tree.node(operand).to as usize;
            operand = match self.open.last() {
                Some(Open::Plus) => operand,
                Some(&Open::Minus { from }) => self.add(Kind::Negate(operand), from, to, from)?,
                Some(&Open::Not { from }) => {
                    let condition = self.condition(operand)?;
                    self.add(Kind::Not(condition), from, to, from)?
                }
                _ => break,
            };
            self.open.pop();
            self.depth -= 1;
        }
        match self.open.last() {
            Some(&Open::BetweenLow { value, at, negated }) => {
                self.open.pop();
                if self.ahead.token != Token::And {
                    return Err(self.unexpected("AND and the upper bound of BETWEEN"));
                }
                self.push(Open::BetweenHigh { value, low: operand, at, negated }, false)
            }
            Some(&Open::BetweenHigh { value, low, at, negated }) => {
                self.open.pop();
                let checked = checks::between(&self.tree, self.text, (value, low, operand), negated);
                checked.map_err(|cause| self.refuse(at, cause))?;
                let kind = Kind::Between { value, low, high: operand, negated };
                Ok(Next::Operator(self.add_between(kind, value, operand, at)?))
            }
            Some(&Open::Order { left, at, order }) => {
                self.open.pop();
                let checked = checks::order(&self.tree, self.text, order, (left, operand));
                checked.map_err(|cause| self.refuse(at, cause))?;
                let kind = Kind::Order { order, left, right: operand };
                Ok(Next::Operator(self.add_between(kind, left, operand, at)?))
            }
            _ => Ok(Next::Operator(operand)),
        }
    }

    /// Reads the operator behind an operand, or closes what the operand completes.
    fn operator(&mut self, left: NodeId) -> Result<Next, Refusal> {
        let at = self.ahead.from;
        let order = |order| Open::Order { left, at, order };
        match self.ahead.token {
            Token::Greater => self.push(order(Order::Greater), false),
            Token::GreaterEqual => self.push(order(Order::GreaterEqual), false),
            Token::Less => self.push(order(Order::Less), false),
            Token::LessEqual => self.push(order(Order::LessEqual), false),
            Token::Not => {
                self.take()?;
                self.named_operator(left, at, true)
            }
            Token::Contains | Token::StartsWith | Token::EndsWith | Token::Between | Token::In => {
                self.named_operator(left, at, false)
            }
            _ => self.equality(left),
        }
    }

    /// Reads CONTAINS and its like, BETWEEN or IN, perhaps behind a NOT.
    fn named_operator(&mut self, left: NodeId, at: usize, negated: bool) -> Result<Next, Refusal> {
        let find = match self.ahead.token {
            Token::Contains => Find::Contains,
            Token::StartsWith => Find::StartsWith,
            Token::EndsWith => Find::EndsWith,
            Token::Between => return self.push(Open::BetweenLow { value: left, at, negated }, false),
            Token::In => return self.in_list(left, at, negated),
            _ => return Err(self.unexpected("CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN behind NOT")),
        };
        self.take()?;
        let literal = self.expect(Token::Text, "a string literal")?;
        let text = unquote(&self.text[literal.from..literal.to]);
        let kind = Kind::Find { find, operand: left, text, negated };
        Ok(Next::Operator(self.add_behind(kind, left, literal.to, at)?))
    }

    /// Reads the list of IN.
    fn in_list(&mut self, operand: NodeId, at: usize, negated: bool) -> Result<Next, Refusal> {
        self.take()?;
        self.expect(Token::Open, "`(` and a list of string literals")?;
        let mut list = Vec::new();
        let close = loop {
            let literal = self.expect(Token::Text, "a string literal")?;
            list.push(unquote(&self.text[literal.from..literal.to]));
            if list.len() > SQL_ELEMENTS_MAX {
                return Err(self.refuse(literal.from, Cause::ListTooLong));
            }
            if self.ahead.token != Token::Comma {
                break self.expect(Token::Close, "`,` or `)`")?;
            }
            self.take()?;
        };
        if !matches!(self.tree.kind(operand), Kind::Property(_)) {
            let operand = checks::shown(&self.tree, self.text, operand);
            return Err(self.refuse(at, Cause::InWithoutProperty { operand }));
        }
        list.sort_unstable();
        list.dedup();
        let kind = Kind::In { operand, list: list.into(), negated };
        Ok(Next::Operator(self.add_behind(kind, operand, close.to, at)?))
    }

    /// Closes `=` or `<>` that waited for a comparison, and reads what may follow.
    fn equality(&mut self, mut left: NodeId) -> Result<Next, Refusal> {
        if let Some(&Open::Equal { left: first, at, negated }) = self.open.last() {
            self.open.pop();
            let checked = checks::equality(&self.tree, self.text, negated, (first, left));
            checked.map_err(|cause| self.refuse(at, cause))?;
            left = self.add_between(Kind::Equal { left: first, right: left, negated }, first, left, at)?;
        }
        while self.ahead.token == Token::Is {
            let at = self.take()?.from;
            let negated = self.ahead.token == Token::Not;
            if negated {
                self.take()?;
            }
            let expected = if negated { "NULL behind IS NOT" } else { "NULL or NOT NULL behind IS" };
            let null = self.expect(Token::Null, expected)?;
            left = self.add_behind(Kind::IsNull { operand: left, negated }, left, null.to, at)?;
        }
        let at = self.ahead.from;
        match self.ahead.token {
            Token::Equal => self.push(Open::Equal { left, at, negated: false }, false),
            Token::NotEqual => self.push(Open::Equal { left, at, negated: true }, false),
            _ => self.logic(left),
        }
    }

    /// Closes AND and OR that waited for a condition, then a parenthesis or the whole.
    fn logic(&mut self, mut left: NodeId) -> Result<Next, Refusal> {
        if let Some(&Open::And { left: first, at }) = self.open.last() {
            self.open.pop();
            let (first, last) = (self.condition(first)?, self.condition(left)?);
            left = self.add_between(Kind::And(first, last), first, last, at)?;
        }
        let at = self.ahead.from;
        if self.ahead.token == Token::And {
            return self.push(Open::And { left, at }, false);
        }
        if let Some(&Open::Or { left: first, at }) = self.open.last() {
            self.open.pop();
            let (first, last) = (self.condition(first)?, self.condition(left)?);
            left = self.add_between(Kind::Or(first, last), first, last, at)?;
        }
        if self.ahead.token == Token::Or {
            return self.push(Open::Or { left, at }, false);
        }
        let Some(Open::Parenthesis { from }) = self.open.pop() else { return Ok(Next::End(left)) };
        self.depth -= 1;
        let close = self.expect(Token::Close, "an operator or `)`")?;
        self.tree.widen(left, from, close.to);
        self.prefixed(left)
    }

    /// Makes a node that can be a condition out of an operand.
    fn condition(&mut self, operand: NodeId) -> Result<NodeId, Refusal> {
        if checks::is_boolean(self.tree.kind(operand)) {
            return Ok(operand);
        }
        let Node { kind, from, to, .. } = self.tree.node(operand);
        let (is_property, from, to) = (matches!(kind, Kind::Property(_)), *from as usize, *to as usize);
        if is_property {
            return self.add(Kind::Condition(operand), from, to, from);
        }
        let operand = checks::shown(&self.tree, self.text, operand);
        Err(self.refuse(from, Cause::NotCondition { operand }))
    }
}

/// The value of a string literal, whose pairs of quotes stand for one.
fn unquote(literal: &str) -> Box<str> {
    let inner = literal.get(1..literal.len() - 1).unwrap_or_default();
    inner.replace("''", "'").into()
}
