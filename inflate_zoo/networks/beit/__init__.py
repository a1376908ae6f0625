"""BEiT, BEiT v2 and data2vec; imports what lies beside it in networks."""
