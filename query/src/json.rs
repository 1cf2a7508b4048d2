//! JSON texts: functions over them, and PostgreSQL's operators.
//!
//! Owns that they give texts, numbers and truth values alone. The library's own `json_get` and `->` give a value that may
//! be of any type, row by row, which neither JSON lines nor Parquet nor PostgreSQL's wire can tell.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_functions_json::{functions, register_all};

/// What gives values of any type, or takes them.
const OF_ANY_TYPE: [&str; 3] = ["json_get", "json_from_scalar", "json_union_to_text"];

/// Adds functions and operators.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    // The first that knows an operator plans it.
    state.register_expr_planner(Arc::new(PartsAreTexts))?;
    register_all(state)?;
    for name in OF_ANY_TYPE {
        state.deregister_udf(name)?;
    }
    Ok(())
}

/// `->` and `#>` give JSON texts.
#[derive(Debug)]
struct PartsAreTexts;

impl ExprPlanner for PartsAreTexts {
    fn plan_binary_op(&self, asked: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if !matches!(asked.op, BinaryOperator::Arrow | BinaryOperator::HashArrow) {
            return Ok(PlannerResult::Original(asked));
        }
        let RawBinaryExpr { op, left, right } = asked;
        let name = format!("{} {op} {}", left.schema_name(), right.schema_name());
        let part: Expr = functions::json_get_json(left, right);
        Ok(PlannerResult::Planned(part.alias(name)))
    }
}
