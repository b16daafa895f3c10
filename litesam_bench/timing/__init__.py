"""What a system costs: complexity (parameters, multiply-accumulates) and latency."""
