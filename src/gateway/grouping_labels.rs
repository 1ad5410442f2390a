//! The labels by which a push names its group, before they are made into a key.

use crate::model::{EncodedLabels, GroupingKey};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Names and values of labels, in the order in which the client wrote them.
pub(crate) type LabelList<'a> = SmallVec<[(Cow<'a, str>, Cow<'a, str>); 4]>;

/// The grouping labels of a push, unsorted.
///
/// Where a name stands more than once the last value counts. The label `job` stands last, and its
/// value is not empty. Most pushes go to a group that exists, which is found with
/// [`encoded`](Self::encoded); so the [`GroupingKey`] is only made where a push needs one.
pub(crate) struct GroupingLabels<'a>(LabelList<'a>);

impl<'a> GroupingLabels<'a> {
    /// The labels of a path, request or file: the `job`, which wins over a label of that name in
    /// `others`, and the `others`.
    ///
    /// # Panics
    ///
    /// In debug builds, if the job is empty: the caller refuses such a group in its own words.
    pub fn new(mut others: LabelList<'a>, job: Cow<'a, str>) -> Self {
        debug_assert!(!job.is_empty(), "a group has a job");
        others.push((Cow::Borrowed("job"), job));
        Self(others)
    }

    /// The value of the label `job`.
    pub fn job(&self) -> &str {
        let (_, job) = self.0.last().expect("`new` puts the job last");
        job
    }

    /// The labels as the store looks up a group whose key is canonical.
    pub fn encoded(&self) -> EncodedLabels {
        EncodedLabels::new(self.iter())
    }

    /// The key of the group.
    pub fn key(&self) -> GroupingKey {
        GroupingKey::new(self.iter()).expect("`new` requires a job")
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}
