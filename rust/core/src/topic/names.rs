//! The original's topic names and builders (`docs/topics.md`).
