//! All that a push contradicts, up to a limit.
//!
//! One contradiction is enough to refuse a push. The others are looked for only to tell the client,
//! who would else learn them one push at a time.

use super::refusal::Refusal;

/// How many contradictions the text of a refusal lists.
const LISTED_MAX: usize = 10;
/// How many further names or series are looked at after the first contradiction. Meanwhile pushes
/// may wait for this one.
pub(super) const LOOKED_AT_MAX: usize = 1000;

/// The contradictions that were found so far.
#[derive(Default)]
pub(super) struct RefusalList {
    listed: Vec<Refusal>,
    n_more: usize,
    /// How many names or series were looked at since the first contradiction.
    n_looked_at: usize,
}

impl RefusalList {
    /// Adds a contradiction. `refusal` is only called if it will be listed.
    pub fn add(&mut self, refusal: impl FnOnce() -> Refusal) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(refusal());
        } else {
            self.n_more += 1;
        }
    }

    /// Whether to look at another name or series: always until there is a contradiction.
    pub fn goes_on(&mut self) -> bool {
        if self.listed.is_empty() {
            return true;
        }
        self.n_looked_at += 1;
        self.n_looked_at <= LOOKED_AT_MAX
    }

    /// The refusal because of everything that was found.
    ///
    /// # Errors
    ///
    /// The refusal, if there is one.
    pub fn into_result(mut self) -> Result<(), Refusal> {
        match self.listed.len() {
            0 => Ok(()),
            1 => Err(self.listed.remove(0)),
            _ => Err(Refusal::Several {
                listed: self.listed.into(),
                n_more: self.n_more,
            }),
        }
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    /// The refusal after `n` contradictions.
    fn refusal_of(n: usize) -> Option<String> {
        let mut list = RefusalList::default();
        for n in 0..n {
            list.add(|| Refusal::DuplicateSeries {
                metric: format!("m{n}"),
            });
        }
        list.into_result().err().map(|refusal| {
            assert_eq!(refusal.reason(), "duplicate_series");
            refusal.to_string()
        })
    }

    #[test]
    fn several_contradictions_are_listed_as_in_the_reference() {
        let same = "was collected before with the same name and label values";
        assert_eq!(refusal_of(0), None);
        assert_eq!(refusal_of(1), Some(format!("collected metric m0 {same}")));
        assert_eq!(
            refusal_of(2),
            Some(format!(
                "2 error(s) occurred:\n* collected metric m0 {same}\n* collected metric m1 {same}"
            ))
        );
        let many = refusal_of(13).expect("a refusal");
        assert!(many.starts_with("13 error(s) occurred:\n* collected metric m0 "));
        assert!(many.ends_with("\n* and 3 more"));
        assert_eq!(many.matches("\n* collected").count(), LISTED_MAX);
    }

    #[test]
    fn looking_goes_on_for_a_while_after_the_first_contradiction() {
        let mut list = RefusalList::default();
        assert!((0..2 * LOOKED_AT_MAX).all(|_| list.goes_on()));
        list.add(|| Refusal::NoName);
        assert!((0..LOOKED_AT_MAX).all(|_| list.goes_on()));
        assert!(!list.goes_on());
    }
}
