"""The resources as models, the CRDs made of them, and the contract with the pods."""
