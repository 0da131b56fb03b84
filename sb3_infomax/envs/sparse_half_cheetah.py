"""SparseHalfCheetah: the locomotion task of EMI and EX2 that pays nothing until the cheetah is five metres away."""

from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
from gymnasium import spaces, utils
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

try:
    import mujoco
    from gymnasium.envs.mujoco import MujocoEnv
except (ImportError, DependencyNotInstalled) as error:
    raise DependencyNotInstalled('SparseHalfCheetah needs MuJoCo: pip install "sb3-infomax[mujoco]".') from error

_DEFAULT_DENSITY = 1000.0  # MuJoCo's own, kg/m^3, where a model names none
_CAMERA = {"distance": 4.0}


class SparseHalfCheetahEnv(MujocoEnv, utils.EzPickle):
    """
    Half-cheetah that is paid 1 per step while its centre of mass is more than 5 metres from the origin, else 0.

    .. math:: r_t = 1\\ \\text{if}\\ |x^{\\mathrm{com}}_{t+1}| > 5\\ \\text{else}\\ 0

    Both directions count, there is no control cost and no terminal state; the registered id cuts episodes at 500 steps of
    0.01 s, so that a return is at most 500 less the steps it takes to travel. A random policy stays within 2 metres.

    Papers: EX2 (Fu et al. 2017, https://arxiv.org/abs/1703.01260) and EMI (Kim et al. 2019,
    https://arxiv.org/abs/1810.01176), both on rllab's half-cheetah. Differences from gymnasium's ``HalfCheetah``:

    1. one simulation step per action instead of five, 500 steps instead of 1000, the reward above;
    2. Gaussian reset noise, 0.01 on positions and 0.1 on velocities, instead of uniform and Gaussian noise of 0.1;
    3. the observation ends with the centre of mass, so that the distance which decides the reward can be seen.

    The body (geometry, gears, damping, 14 kg) is the same in both, so gymnasium's model file is read; its deprecated
    total-mass attribute is turned into a density, which gives the same model to the last digit.

    Observation, shape (20,): joint positions without x (8), joint velocities (9), centre of mass x, y, z in metres (3).
    Action, shape (6,): torques in [-1, 1], in the order back thigh, shin, foot, front thigh, shin, foot.
    ``info``: ``x_com``, in metres.

    :param kwargs: ``render_mode``, ``width``, ``height`` and the other rendering arguments of gymnasium's ``MujocoEnv``
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 100,
    }
    goal_distance = 5.0  # metres
    position_noise = 0.01
    velocity_noise = 0.1

    def __init__(self, **kwargs: Any) -> None:
        utils.EzPickle.__init__(self, **kwargs)
        observation_space = spaces.Box(-np.inf, np.inf, shape=(20,), dtype=np.float64)
        kwargs.setdefault("default_camera_config", _CAMERA)
        MujocoEnv.__init__(self, "half_cheetah.xml", frame_skip=1, observation_space=observation_space, **kwargs)
        self._torso = self.model.body("torso").id

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], np.float64, bool, bool, dict[str, np.float64]]:
        """
        Apply one action for 0.01 s. Never terminates; the time limit is the wrapper's.

        :param action: torques, shape (6,), clipped to [-1, 1] by the simulator
        :return: observation of shape (20,), reward 0 or 1, terminated, truncated, info
        """
        self.do_simulation(action, self.frame_skip)
        if self.render_mode == "human":
            self.render()
        x_com = self.x_com
        reward = np.float64(abs(x_com) > self.goal_distance)
        return self._get_obs(), reward, False, False, {"x_com": x_com}

    def reset_model(self) -> NDArray[np.float64]:
        """
        Stand at the origin, give or take Gaussian noise.

        :return: observation, shape (20,)
        """
        position = self.init_qpos + self.position_noise * self.np_random.standard_normal(self.model.nq)
        velocity = self.init_qvel + self.velocity_noise * self.np_random.standard_normal(self.model.nv)
        self.set_state(position, velocity)
        return self._get_obs()

    @property
    def x_com(self) -> np.float64:
        """:return: where the whole body's centre of mass is along the track, in metres"""
        return self.data.subtree_com[self._torso, 0]

    def _get_obs(self) -> NDArray[np.float64]:
        return np.concatenate((self.data.qpos[1:], self.data.qvel, self.data.subtree_com[self._torso]))

    def _get_reset_info(self) -> dict[str, float]:
        return {"x_com": self.x_com}

    def _step_mujoco_simulation(self, ctrl: NDArray[np.float32], n_frames: int) -> None:
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, nstep=n_frames)
        # mj_step leaves the centre of mass where it was before the step; bring it up to the new positions
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = _load_model(self.fullpath)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        return model, mujoco.MjData(model)


def _load_model(path: str) -> mujoco.MjModel:
    """
    Read a model whose bodies all have one density, and give it the total mass that its file asks for.

    MuJoCo deprecates the attribute ``settotalmass``: it complains on stderr and leaves a log file in the working folder.

    :param path: an MJCF file
    :return: the compiled model
    """
    root = ElementTree.parse(path).getroot()
    compiler, geom = root.find("compiler"), root.find("default/geom")
    total_mass = None if compiler is None else compiler.attrib.pop("settotalmass", None)
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    if total_mass is None or geom is None:
        return model
    geom.set("density", str(_DEFAULT_DENSITY * float(total_mass) / model.body_mass.sum()))
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
