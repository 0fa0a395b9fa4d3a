//! Pages of a list that is sorted by name.

/// One page of what is sorted by name, and the token of the next one, if there is one. The token is the last name of a page: it stays good when
/// things come and go between two pages. `size` zero: all that is left; an empty `token`: from the first on.
pub fn page<T>(
    sorted: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &str,
    size: u32,
    token: &str,
) -> (Vec<T>, Option<String>) {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(usize::MAX);
    let mut left = sorted.into_iter().filter(|item| token.is_empty() || name(item) > token);
    let page: Vec<T> = left.by_ref().take(size).collect();
    let more = left.next().is_some();
    let next = page.last().filter(|_| more).map(|item| name(item).to_owned());
    (page, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let names = || ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        for size in 1..7 {
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let (page, next) = page(names(), |name| name, size, &token);
                assert!(page.len() <= usize::try_from(size).unwrap());
                seen.extend(page);
                let Some(next) = next else { break };
                token = next;
            }
            assert_eq!(seen, names());
        }
        assert_eq!(page(names(), |name| name, 0, ""), (names(), None));
    }
}
