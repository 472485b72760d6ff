//! A small table for terminals: columns as wide as what they hold, and no line over 100 columns.

/// The widest line.
const WIDEST: usize = 100;

/// The narrowest that a first column is cut to.
const NARROWEST: usize = 12;

/// Rows of text under headings; the first column is left-aligned, as are headings starting with
/// `<`, all others right-aligned.
pub struct Table {
    left: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        let left = (headings.iter().enumerate())
            .map(|(at, heading)| at == 0 || heading.starts_with('<'))
            .collect();
        let head = headings.iter().map(|heading| heading.trim_start_matches('<').to_owned());
        Table { left, rows: vec![head.collect()] }
    }

    /// Adds a row with as many cells as there are headings.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.left.len(), "a cell for each heading");
        self.rows.push(cells);
    }

    /// The lines, the headings first, each indented by `indent` spaces.
    pub fn lines(mut self, indent: usize) -> Vec<String> {
        let mut widths: Vec<usize> = (0..self.left.len())
            .map(|at| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
            .collect();
        let gaps = 2 * widths.len().saturating_sub(1);
        let total = indent + widths.iter().sum::<usize>() + gaps;
        if let Some(first) = widths.first_mut()
            && total > WIDEST
        {
            *first = first.saturating_sub(total - WIDEST).max(NARROWEST.min(*first));
            for row in &mut self.rows {
                cut(&mut row[0], *first);
            }
        }
        let line =
            |row: &Vec<String>| {
                let cells: Vec<String> =
                    row.iter()
                        .zip(&widths)
                        .zip(&self.left)
                        .map(|((cell, &width), &left)| {
                            if left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                        })
                        .collect();
                format!("{}{}", " ".repeat(indent), cells.join("  ")).trim_end().to_owned()
            };
        self.rows.iter().map(line).collect()
    }
}

fn cut(text: &mut String, width: usize) {
    if text.chars().count() > width {
        *text = text.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let shown: Vec<_> = [0, 999, 1_000, 1_234_567].map(grouped).into();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn no_line_is_over_100_columns() {
        let mut table = Table::new(&["exporter", "<protocol", "records"]);
        table.row(vec!["x".repeat(120), "ipfix".into(), "5".into()]);
        let lines = table.lines(2);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDEST), "{lines:?}");
        assert!(lines[1].contains('…') && lines[1].ends_with("ipfix           5"), "{lines:?}");
    }
}
