"""Films: every frame separated, the decision kept steady along motion, sound and time stamps as they were."""

from dereflect.video.convert import VideoJob, convert_video
from dereflect.video.steady import steady_changes

__all__ = ["VideoJob", "convert_video", "steady_changes"]
