"""What is sent to Zipkin's collector."""
