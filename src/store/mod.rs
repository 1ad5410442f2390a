//! Pushes become groups.
