"""What a report says of a store, finished or not: a series, or a data set.

`series` and `datasets` find out what there is to say, as numbers; `reflections` is of the spots of some frames, `runs` of who made them
and what was checked. `pages` makes a page of it, with figures. What holds: of a long series some frames are read, and the page says which,
so that ten thousand take no more memory than ten; nothing is written into the store.
"""
