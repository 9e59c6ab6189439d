"""What language models write and how it is judged: answers, steps, traces, equations, small models for proofs."""
