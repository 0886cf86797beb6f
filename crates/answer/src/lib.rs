//! Augment, generate, cite: from hits to a stream of answer events.
