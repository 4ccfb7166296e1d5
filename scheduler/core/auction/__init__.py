"""Auctions: contended nodes go to whom they are worth most, at prices that follow from the answer.

A round is a `market.Market`. Winner determination (`assignment` where a request fills a node, `shared` where several
fit, `solve` for either) gives a `market.Outcome` with its bound; its duals are the node prices. What tenants are
charged (`exchange`, `charges`), what posted prices leave unsold, how fair the answer is and what the published
mechanism (MOHAF, arXiv 2508.14830) does instead are read off the same two types. `surplus` steers single pods by price.

`stowage auction` (analytics.auction), the replay's policy `auction` and the planner's price rounds are built from it.
Only tests and benches call `candidates` with `paper_plane`, `fairness.finish_time_ratio`, and of `prices` the classes
of published prices (`prices_of`, `smooth`) and bids above a reserve (`above_reserve`, `reserve_paid`): they need what
no input of ours states (places in a plane, how long a job takes alone, when a round was, what a unit costs).
"""
