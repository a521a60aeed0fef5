"""Promises kept, one file each: pure deciders from a picture and now to changes; `decide` has their order."""
