"""EVA-02; imports what lies beside it in networks."""
