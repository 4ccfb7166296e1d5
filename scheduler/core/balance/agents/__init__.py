"""Balancing without a centre: nodes and brokers that know little, and only by message.

Nobody sees the whole cluster as it is. A node knows itself. A broker keeps a view of every node's free room that is
as old as the last report. A task that wants a place, or that an overloaded node wants to be rid of, gets one so:

1. its owner (who submitted it, or the overloaded node) asks a broker, which draws k nodes that fit by its view;
2. these k are asked what they make of the task, and answer with a score, or that they cannot take it;
3. the best is asked to hold the room. It does, for the time of a *lease*, or refuses: somebody was quicker
   (a *collision*), and the next best is asked, or a broker again;
4. the owner commits, and the task is there; a lease that nobody commits expires.

After so many refusals the placement is *forced* on the candidate with the least overload added, which is overloaded
then and offloads in turn. Such chains have a limit, which a node remembers until it is well again. A task leaves an
overloaded node by force only for one that it overloads less than it relieves its own: or a cluster without room would
send its tasks around for ever.

Messages take time and may be lost; nodes fail. An answer that does not come is asked for again under the same number,
and whoever gets the same number twice does the thing once. A timeout is longer than any round trip, so an answer is in
time or lost, never late. Time is simulated, in microseconds, and all chance comes from one seed.

The thesis this follows ("Intelligent Load Balancing in Cloud Computer Systems") has such agents; its score formulas
were not available to us, and nothing here is them: see `scores`.

Not modelled: brokers that fail, reports that take time (they are taken to arrive at once), bandwidth of messages.
"""
