"""Token endpoints: what they are asked and answer, and the steps and providers that ask."""
