"""The parts of the cards that are the same for every model."""

USE = """\
## Intended use

Research, measurement and tools for clips of people who agreed to it: it gives
each person in a clip one of the labels above, with probabilities.

**Not for decisions about people**: hiring, credit, policing, schooling, health,
border control, or telling whether somebody speaks the truth. A label says how a
clip looks to a model that was shown how raters labelled other clips; it does
not say what a person feels. Emotion recognition at work and in schools is
forbidden in some places (the European Union's AI Act among them): ask before
you use it."""
PRIVACY = """\
## Privacy of faces

- The weights hold no picture. What goes in and comes out does concern people:
  videos, records, requests and request logs hold faces; results hold where a
  face was and what it looked like. Keep them as you keep the videos, and no
  longer.
- Faces are detected and followed within one video; nobody is recognised or
  compared across videos.
- In many places a face, and an emotion told from it, is personal data of a
  special kind: have a reason in law, or consent."""
FOUNDATION = """\
## Software and paper

emorec is licensed under Apache-2.0; the weights trained here belong to whoever
trained them, within the terms of their data (data card). The method: M.-C. Sun,
S.-H. Hsu, M.-C. Yang, J.-H. Chien, "Context-aware Cascade Attention-based RNN
for Video Emotion Recognition", 2018, arXiv 1805.12098."""
HOLDS = """\
## What the records hold

For each person in each clip: JPEG crops of the face and of the whole frame, the
times and places of the face, the label, the video's path and SHA-256, and what
the manifest says of source and identity. Features that were computed from them
lie beside. All of it is as private as the videos."""
TO_ADD = """\
## To be added by whoever made the data

emorec is not told these; a data card without them is not complete.

- Who is seen: how many people, of what ages, sexes, skin colours and cultures?
  Are persons kept apart between the splits (the manifest's column `identity`)?
- How were clips chosen, from where, in what languages and years? Are feelings
  acted, drawn out or lived?
- Who labelled them, how many raters for each clip, and how far did they agree
  (`emorec disagreement`)?
- Did the people agree to this use, and how can they take that back? Who keeps
  the videos and records, until when?
- Under what licence or contract may the videos, the labels and a model trained
  on them be used and passed on?"""
