"""DeiT-S/16 with tokens merged at random, 13 in every block: the floor that tome_deit_s has to beat at the same counts."""

_base_ = "tome_deit_s.py"

reduction = dict(_delete_=True, random=dict(r=13))
