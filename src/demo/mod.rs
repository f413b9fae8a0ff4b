//! `replproxy demo`.

mod story;
