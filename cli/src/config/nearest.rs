//! Finds the name that was probably meant: the known one with the smallest edit distance.

/// Edits above which two names have nothing to do with each other, as a share of the longer one: a third.
const EDITS_SHARE: usize = 3;

/// The closest of `known`, unless none is close.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let measured = known.map(|candidate| (edits(&lower, &candidate.to_lowercase()), candidate));
    let (distance, candidate) = measured.min()?;
    (distance <= name.len().max(candidate.len()) / EDITS_SHARE).then_some(candidate)
}

/// Insertions, removals, replacements and swaps of neighbours that make one text of the other.
fn edits(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(line[column] + 1);
            let swapped = row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = || ["brokerName", "brokerIP1", "listenPort", "fileReservedTime"].into_iter();
        assert_eq!(nearest("brokerNmae", known()), Some("brokerName"));
        assert_eq!(nearest("listenport", known()), Some("listenPort"));
        assert_eq!(nearest("brokerIp", known()), Some("brokerIP1"));
        assert_eq!(nearest("somethingElse", known()), None);
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
    }
}
