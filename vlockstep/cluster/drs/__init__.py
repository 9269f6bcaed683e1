"""Load balancing: a cluster as it is goes in, recommendations come out. All of it is pure, but for
the oracle, which asks a process of its own.

advice      Advice, Recommendation, Move, Fault, Reason, Settings: what is said
recommend   recommend, toward: what is recommended for a cluster
balancer    Balancer: the same over time: what does not last moves nothing
schedule    schedule, Schedule: in which order, and how many at a time
check       check_plan: judges a plan before it is carried out
oracle      solve, ask, Problem: the same questions answered by HiGHS
mend        mend: what is mandatory
balance     balance: what makes the loads even
draft       Draft, History, Unit, Step: a placement in the making
loads       Loads: how loaded hosts are, and how evenly
"""
