//! Text of an expression over several lines, for people. Follows upstream's `promql/parser/prettier.go`.

use super::ast::Expr;

/// An expression whose canonical text is longer gets split.
const LINE_BYTES_MAX: usize = 100;

impl Expr {
    /// The expression in lines with two spaces of indentation a level.
    #[must_use]
    pub fn prettify(&self) -> String {
        self.pretty(0)
    }

    fn pretty(&self, level: usize) -> String {
        let indent = "  ".repeat(level);
        let flat = self.to_string();
        let split = flat.len() > LINE_BYTES_MAX;
        match self {
            Expr::Subquery(s) if split => format!("{}{}", s.expr.pretty(level), s.suffix()),
            Expr::Subquery(_) => flat,
            Expr::Unary(u) => {
                let sign = if u.negative { "-" } else { "+" };
                format!("{indent}{sign}{}", u.expr.pretty(level).trim())
            }
            _ if !split => format!("{indent}{flat}"),
            Expr::Aggregate(a) => {
                let param = a.param.as_ref().map(|p| format!("{},\n", p.pretty(level + 1)));
                let inner = a.expr.pretty(level + 1);
                format!("{indent}{}(\n{}{inner}\n{indent})", a.head(), param.unwrap_or_default())
            }
            Expr::Binary(b) => {
                let (l, r) = (b.lhs.pretty(level + 1), b.rhs.pretty(level + 1));
                format!("{l}\n{indent}{}\n{r}", b.operator())
            }
            Expr::Call(c) => {
                let args: Vec<String> = c.args.iter().map(|a| a.pretty(level + 1)).collect();
                format!("{indent}{}(\n{}\n{indent})", c.func.name, args.join(",\n"))
            }
            Expr::Paren(p) => format!("{indent}(\n{}\n{indent})", p.expr.pretty(level + 1)),
            Expr::Matrix(_) | Expr::Number(_) | Expr::String(_) | Expr::Vector(_) => {
                format!("{indent}{flat}")
            }
        }
    }
}
