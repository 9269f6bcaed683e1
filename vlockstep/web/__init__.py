"""The management view: a page, a JSON API and metrics, in a process of their own. The
page itself is in static/.

shapes      what the server and the page say to each other, a module for each noun
model       Model, Picture: the view as it changes, in revisions
source      Source: what the view is of
directory   DirectorySource: of the guests that run on this computer
clusters    ClusterSource: of a cluster
applying    Applying: recommendations, one move after the other
mirror      Mirror: a cluster's store as it was at the last look
records     Reader: what stands in that store, read once for each change, and what is broken
standings   Guests, Tasks: how a cluster's guests stand, worked out again where that changes
levels      level_of_event: whether a person should look at it
problems    problems_of_guests, problems_of_cluster, problems_of_records: what is wrong, and what
            to do
endings     Endings: of guests of this computer that nobody stopped
history     History, Rates: what a guest has done lately
reigns      Reigns: who ruled a guest when, and why that changed
arbiters    reigns_of: what its arbiter has kept of that
protecting  asked_to_protect: what a person gives to protect such a guest
localtasks  LocalTasks: what was asked of guests that are in no cluster
consoles    read_console: pieces of a guest's console
recordings  Recordings: logs in the page
logindex    read_index, LogIndex: what is in a log, to be counted at once
narrated    Narrated: what an execution did, by its replay
metrics     of_view, of_replica: for Prometheus
counts      Counts: what happened, for the metrics
exposition  Exposition, Histogram: its text format
openapi     document: what is in api, as OpenAPI
hub         Hub: from a source to all who follow it
auth        Tokens, Right: who may do what
api         ENDPOINTS: what can be asked, as a table
server      Service: the page's files, the API and the stream
serving     serve, listen: the server as a process; Aside: beside a program
story       StorySource: the view of a demonstration
"""
