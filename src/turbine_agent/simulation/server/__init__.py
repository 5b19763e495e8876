"""The simulated exchange as Turbine shows it: REST requests become answers, changes become stream messages.

Without sockets, clock and keys: `runtime.serve` owns those, and hands in what it reads. The rules

* Time is the simulation's. Whoever calls has brought the scheduler to the instant of the request.
* A request is answered at once and completely; what has to wait (a slow answer, a chain) is scheduled.
* What the official client of either generation reads is in every answer: one object has both sets of keys.
* What Turbine is known to do wrong is a named fault (`faults`), so that it can be switched off and counted.

    switches    what can be chosen when the exchange is started
    faults      what can go wrong, how often, and how often it did
    records     what has to be remembered of markets, orders and trades to show it
    keys        API keys, bearer tokens, signatures of wallets
    chain       allowances, approvals, nonces, transactions, claims: what would be on chain
    state       all of these around the exchange itself; it listens to everything that happens there
    stream      subscribers, and the messages each has to be sent
    wire        the JSON objects
    rest        paths, and what is answered there
"""
