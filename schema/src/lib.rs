//! The API contract (v1alpha1) and the code generated from it.
