"""What a guest's devices are on this computer: clocks, timers, disks, consoles.

live            LiveWorld: the World of a guest that runs for real
simulated       SimulatedWorld: one in virtual time, where a seed is all that is chance
mirror          MirroredDisk, Mirror: a disk that is copied while a guest writes to it
devices         Disk, DiskFile, ConsoleFile, ConsoleStream: block devices and consoles
room            expect_room: whether there is memory for a guest
diskmove        DiskMove: a disk of a running guest moves to another file
attach          attach, DiskSpec: from a disk's name and path to an open disk
diskfiles       DiskInfo, inspect, create, convert, resize: disks in files, at rest
diskformats     DiskFormat, recognise: their formats, and what a header says
qemuimg         QemuImg: the program that reads and writes them
background      Background, BackgroundThread: work that may wait for a file or a terminal
eventwriter     EventWriter: events on their way to somebody who may not read them
"""
