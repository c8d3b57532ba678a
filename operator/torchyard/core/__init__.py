"""Pure decisions: from what is there to what should be. No input, output, clock or client."""
