//! The known word that a misspelt one was meant to be.

/// The candidate closest to `word`, if it is close enough to be meant: case and separators do
/// not count, and at most a third of the letters may differ, or the word is a part of it.
pub fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let plain = simplify(word);
    let (distance, best) = candidates
        .clone()
        .into_iter()
        .map(|candidate| (distance(&plain, &simplify(candidate)), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let allowed = plain.len().max(3) / 3;
    if distance <= allowed {
        return Some(best);
    }
    // Short words are parts of too much.
    let part = |candidate: &&str| {
        plain.len() >= 4
            && simplify(candidate)
                .windows(plain.len())
                .any(|part| part == plain)
    };
    candidates.into_iter().find(part)
}

fn simplify(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        // Longer words are never close; this bounds the work on hostile input.
        .take(64)
        .collect()
}

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        let known = ["retries", "timeout", "perTryTimeout", "route"];
        assert_eq!(nearest("retires", known), Some("retries"));
        assert_eq!(nearest("per_try_timeout", known), Some("perTryTimeout"));
        assert_eq!(nearest("Timeout", known), Some("timeout"));
        assert_eq!(nearest("routes", known), Some("route"));
        assert_eq!(nearest("labels", ["matchLabels"]), Some("matchLabels"));
        assert_eq!(nearest("banana", known), None);
    }
}
