"""The demonstration: a protected guest, a fault in mid-write, and proof that nothing shows of it.

`plan` says what is to happen, `replicas` are the two processes, `story` is what was heard of them,
`stage` lets it happen, `screens` show it, `ledger` and `proof` judge what came of it.
"""
