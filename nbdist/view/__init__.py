"""Looking at a store in a browser: `nbdist view`.

What holds: of a store no pixel is read that is not shown, but for the chunk that it lies in; a store may be unfinished, and in a bucket.
`blocks` reads pixels and keeps the last ones, within a bound; `model` answers what a page asks of a store, in numpy alone; `newest` asks
it in threads, so that the page goes on; `page` is the page, drawn by Bokeh; `server` serves it on the loopback interface, to whom has
its address.
"""
