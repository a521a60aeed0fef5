"""Asked against running: each task gets its next step until nothing is left to do.

`decide` and `report` are pure and read `asked` and `observed`; `perform` carries one step out in the rooms
that can; `loop` turns events into facts and facts into the next decision.
"""
