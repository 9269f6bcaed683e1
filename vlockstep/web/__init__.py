"""The management view: a page, a JSON API and metrics, in a process of their own. The
page itself is in static/.

shapes   what the server and the page say to each other
model    Model, Picture: the view as it changes, in revisions
source   Source: what the view is of
hub      Hub: from a source to all who follow it
auth     Tokens, Right: who may do what
api      ENDPOINTS: what can be asked, as a table
server   Service: the page's files, the API and the stream
serving  serve, listen: the server as a process
"""
