//! The seam between the lock-free protocols and the primitives they stand on.
