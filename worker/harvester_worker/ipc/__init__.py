"""Between agent and slot: messages, the frames that carry them, shared memory, and files beside them.

Imports nothing of the pilot. Begin with `slot_messages`.
"""
