"""Estimators: from values and scores of trees to derivatives."""
