"""Auctions: contended nodes go to whom they are worth most, at prices that follow from the answer.

A round is a `market.Market`. Winner determination (`assignment` where a request fills a node, `shared` where several
fit) gives a `market.Outcome` with its bound; its duals are the node prices. What tenants are charged, how fair the
answer is and what the published mechanism (MOHAF, arXiv 2508.14830) does instead are read off the same two types.
"""
