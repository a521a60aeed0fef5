"""Where a task runs. Pure: a picture and pending tasks in, assignments or reasons out.

* `place` the flow: pending tasks → AssignTask, or Waiting with the reason
* `board` the nodes, laid out for many questions at once
* `filters` may it run here? each can say why not, and what would help
* `capacity` room, shares and ports of nodes, less what is given away on the way
* `tally` how many tasks of a service are where
* `scores` where is best
* `explain` reasons of all nodes → one sentence, and the smallest change that would make it fit
"""
