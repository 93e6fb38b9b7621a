"""Tables of notes: columns out of nested answers, written as the forms that other programs read."""
