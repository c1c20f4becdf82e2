"""Every call into libhdf5 happens in a process of its own, one for each opened file.

parent (holds credentials) ── control socket ── launcher (fresh, empty environment) ── fork ── child (one file)
   └───────────────────────── session socket: byte ranges down, answers up ───────────────────────┘

The parent asks `parent.Sandbox` for a session and knows `protocol` and `limits`; it never imports h5py. The launcher is
executed anew, so nothing of the parent's memory is in it, and preloads what a child needs. The child confines itself
(`confine`), opens the file over the session socket and serves the calls that `operations` names.

A child whose libhdf5 was taken over by a crafted file can send wrong bytes, waste its share of time and memory, and ask
for ranges of the very file that it was made of. It has no environment worth reading, can open no file or socket, and
where seccomp works (Linux on x86_64 and aarch64, Lambda among them) can make no system call that touches anything else.
Without seccomp it could still signal processes of its own user and remove files by name.
"""
