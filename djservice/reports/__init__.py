"""Reports: text, figures and pages made from a store."""
