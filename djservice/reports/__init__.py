"""From a store to text, figures and pages."""
