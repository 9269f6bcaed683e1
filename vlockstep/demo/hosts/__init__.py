"""The demonstration of a cluster: four hosts, of which one fails, and what becomes of its guests.

plan        HostsPlan, make_plan: hosts, guests, and what happens to which host
stage       perform: lets it happen
story       HostsStory, Span: what was seen, and when
proof       prove: judges what came of it
timeline    draw: a picture of it (SVG)
screens     choose: shows it
onpage      Told: tells it to a page
"""
